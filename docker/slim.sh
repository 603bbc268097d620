#!/bin/sh
# Take out of an installed environment what no running service uses: the installer, packages' own tests, caches.
set -eu
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
  ! -path '*/torch/*' ! -path '*/numpy/*' -prune -exec rm -rf {} +
find "$packages" -type d -name __pycache__ -prune -exec rm -rf {} +
rm -rf "$packages"/torch/include "$packages"/torch/share "$packages"/torch/test
rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$packages"/setuptools "$packages"/setuptools-*.dist-info
rm -f "$(dirname "$(command -v python)")"/pip*
