# 3000 files come out of an archive, go into another one, and are removed.
set -e
cd /root
tar -xf /data/tree.tar
find tree -type f | wc -l
tar --sort=name --owner=0 --group=0 --mtime=@0 -cf again.tar tree
cmp again.tar /data/tree.tar
rm -rf tree
ls
