# A package by dpkg, another by apt-get, and both away again.
set -e
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin
dpkg -i /data/kiln-one.deb
apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 install /data/kiln-two.deb >/dev/null
dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'kiln-*'
find /usr/share/kiln-* -type f | wc -l
dpkg -P kiln-one kiln-two
[ ! -e /usr/share/kiln-one ]
echo removed
