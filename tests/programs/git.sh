# Commits, a clone that goes through a server process, packing, and a check of everything.
set -e
export HOME=/root GIT_AUTHOR_NAME=k GIT_AUTHOR_EMAIL=k@k GIT_COMMITTER_NAME=k GIT_COMMITTER_EMAIL=k@k \
	GIT_AUTHOR_DATE='2000-01-01T00:00:00Z' GIT_COMMITTER_DATE='2000-01-01T00:00:00Z' GIT_TEMPLATE_DIR=
mkdir /root/work
cd /root/work
git init -q -b main
mkdir folder
for i in 0 1 2 3 4; do
	for j in 0 1 2 3 4 5 6 7 8 9; do echo "$i $j" >"folder/file$i$j"; done
	echo "$i" >>log
	git add .
	git commit -q -m "commit $i"
done
git clone -q --no-local /root/work /root/clone
cd /root/clone
git gc -q
git fsck --strict
git status --short
git rev-list --count HEAD
git rev-parse HEAD
