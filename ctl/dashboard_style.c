/* What the dashboard looks like: one accent colour, in the light and in the dark. */
#include "ctl/dashboard_page.h"

/* clang-format off */
const char dashboard_style[] =
	":root{--paper:#faf9f7;--card:#fff;--ink:#1c1917;--quiet:#57534e;--line:#e7e5e4;--accent:#c2410c;--soft:#d67d48;\n"
	"--claimed:#57534e;--spare:#948c85;color-scheme:light dark}\n"
	"@media(prefers-color-scheme:dark){:root{--paper:#161311;--card:#201c19;--ink:#f5f2ef;--quiet:#b3aca5;--line:#38322d;\n"
	"--accent:#fb8c4a;--soft:#a3592a;--claimed:#d6d0ca;--spare:#7a726a}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;max-width:76rem;padding:1.25rem clamp(.75rem,3vw,2rem) 3rem;background:var(--paper);color:var(--ink);\n"
	"font:1rem/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}\n"
	"header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1rem;margin-bottom:1.25rem}\n"
	"h1{margin:0;font-size:1.5rem;letter-spacing:-.01em}h1 span{font-weight:400;color:var(--quiet);overflow-wrap:anywhere}\n"
	"h2{margin:0 0 .75rem;font-size:1.0625rem}\n"
	"header p{margin:0}header .quiet{flex-basis:100%}\n"
	".quiet{color:var(--quiet);font-size:.875rem}p.quiet:last-child{margin-bottom:0}\n"
	"a{color:inherit;text-underline-offset:.2em}a:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}\n"
	".state{padding:.1rem .7rem;border:1px solid currentcolor;border-radius:1rem;font-size:.875rem}\n"
	".state.on{color:var(--ink)}.state.on::before{content:\"\";display:inline-block;width:.6em;height:.6em;margin-right:.5em;\n"
	"border-radius:50%;background:var(--accent)}.state.off{color:var(--quiet)}\n"
	"main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem;align-items:start}\n"
	"section,.tile{min-width:0;padding:1rem 1.25rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}\n"
	".wide,.tiles{grid-column:1/-1}.stack{display:grid;gap:1rem;min-width:0}\n"
	".notices{border-left:.3rem solid var(--accent)}.notices ul{margin:0;padding-left:1.1rem}.notices{overflow-wrap:anywhere}\n"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,10rem),1fr));gap:1rem;margin:0}\n"
	".tile dt{color:var(--quiet);font-size:.875rem}.tile dd{margin:0;font-size:1.75rem;line-height:1.25}\n"
	".tile small{font-size:1rem;color:var(--quiet)}\n"
	"figure{margin:0 0 1rem}figcaption{font-size:.9375rem;overflow-wrap:anywhere}figcaption span{color:var(--quiet);margin-left:.4em}\n"
	".many{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:.5rem 2rem}\n"
	"svg{display:block;overflow:visible}svg.bar{margin:.15rem 0 .4rem}\n"
	"rect.parked,rect.column{fill:var(--accent)}rect.coming{fill:var(--soft)}rect.spare{fill:var(--spare)}rect.claimed{fill:var(--claimed)}\n"
	"rect.missing{fill:none;stroke:var(--accent);stroke-dasharray:4 4}rect.failed{fill:var(--ink)}\n"
	"svg.bar rect{stroke-width:1}svg.bar rect:not(.missing){stroke:var(--card)}\n"
	".mark{stroke:var(--ink);stroke-width:2}.histogram .mark{stroke-width:1;stroke-dasharray:3 2}\n"
	".grid{stroke:var(--line)}.axis{stroke:var(--quiet)}\n"
	"text{fill:var(--quiet);font-size:.75rem}text.tick{text-anchor:middle}text.left{text-anchor:end}\n"
	".legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0 0 .75rem;padding:0;list-style:none;color:var(--quiet);font-size:.875rem}\n"
	".legend li::before,.key::before{content:\"\";display:inline-block;width:.75em;height:.75em;margin-right:.5em;border-radius:.15em}\n"
	".legend .parked::before,.key.parked::before{background:var(--accent)}.legend .coming::before,.key.coming::before{background:var(--soft)}\n"
	".legend .spare::before,.key.spare::before{background:var(--spare)}.legend .claimed::before,.key.claimed::before{background:var(--claimed)}\n"
	".legend .missing::before{outline:1px dashed var(--accent);outline-offset:-1px}.key.failed::before{background:var(--ink)}\n"
	".legend .mark::before{width:2px;border-radius:0;background:var(--ink)}\n"
	".scroll{overflow-x:auto}\n"
	"table{width:100%;border-collapse:collapse;font-size:.875rem}\n"
	"th,td{padding:.35rem .75rem .35rem 0;border-top:1px solid var(--line);text-align:left;vertical-align:top}\n"
	"thead th{border-top:0;color:var(--quiet);font-weight:400;white-space:nowrap}tbody th{font-weight:500}\n"
	".number{text-align:right;white-space:nowrap}.number+:not(.number){padding-left:1rem}:is(th,td):last-child{padding-right:0}\n"
	"@media print{:root{--paper:#fff}section,.tile{break-inside:avoid}}\n";

/* A kiln's mouth. */
const char dashboard_icon[] =
	"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path fill=\"#c2410c\" d=\"M2 15V8a6 6 0 0 1 12 0v7h-4v-4a2 2 0 0 0-4 0v4z\"/></svg>\n";
/* clang-format on */
