#!/bin/sh
# A PostgreSQL cluster is made, filled, ended without a word, recovered and read again. Its last line is
# "recovered". (tests/conformance/programs)
set -e
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
export PGDATA=/var/lib/postgresql/data PGHOST=/var/run/postgresql LC_ALL=C
[ "$(id -un)" = postgres ] || exec su postgres -c "sh $0"
cd /var/lib/postgresql

start() { pg_ctl -w -t 200 start -l log >/dev/null || { cat log; exit 1; }; }

initdb -A trust >initdb.log 2>&1 || { cat initdb.log; exit 1; }
printf "checkpoint_timeout = 1h\nlisten_addresses = ''\n" >>"$PGDATA/postgresql.conf"
start
psql -qX -v ON_ERROR_STOP=1 <<'SQL'
create table item (id int primary key, name text, at int);
insert into item select i, 'item ' || i, i % 97 from generate_series(1, 3000) i;
create index on item (at);
do $$ begin for i in 3001..5000 loop insert into item values (i, 'item ' || i, i % 97); commit; end loop; end $$;
update item set name = name || ' again' where at < 10;
delete from item where at = 50;
SQL
pg_ctl -m immediate stop >/dev/null
start
psql -qXAt -v ON_ERROR_STOP=1 <<'SQL'
select count(*), sum(at), md5(string_agg(name, ',' order by id)) from item;
vacuum full item;
select count(*) from item where at = 9;
SQL
pg_ctl -m fast stop >/dev/null
grep -E 'PANIC|could not' log || echo recovered
