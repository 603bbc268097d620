#!/bin/sh
# Take out of an installed environment what no running service uses: the installer, headers, packages' own tests.
# Compiled Python stays: on a root that nobody may write, every start would compile all of it again.
set -eu
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d \( -name tests -o -name test \) \
  ! -path '*/torch/*' ! -path '*/numpy/*' -prune -exec rm -rf {} +
rm -rf "$packages"/torch/include "$packages"/torch/share "$packages"/torch/test
# What tokenizers could fetch files from a hub with; nothing here does, and it does without.
rm -rf "$packages"/huggingface_hub* "$packages"/hf_xet* "$packages"/httpx2* "$packages"/httpcore2* \
  "$packages"/truststore*
rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$packages"/setuptools "$packages"/setuptools-*.dist-info
rm -f "$(dirname "$(command -v python)")"/pip*
