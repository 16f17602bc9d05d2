# An environment of Python's own, without pip.
set -e
python3 -m venv --without-pip /root/venv
/root/venv/bin/python -c 'import sys; print(sys.prefix)'
