#!/bin/sh
# Remove what no running service uses from an installed environment: the installer, headers, and packages' tests.
# Compiled Python files stay: the root file system is read-only, so every start would compile all modules again.
set -eu
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d \( -name tests -o -name test \) \
  ! -path '*/torch/*' ! -path '*/numpy/*' -prune -exec rm -rf {} +
rm -rf "$packages"/torch/include "$packages"/torch/share "$packages"/torch/test
# tokenizers depends on these to download files from a hub. Whyserve downloads nothing, and tokenizers works without.
rm -rf "$packages"/huggingface_hub* "$packages"/hf_xet* "$packages"/httpx2* "$packages"/httpcore2* \
  "$packages"/truststore*
rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$packages"/setuptools "$packages"/setuptools-*.dist-info
rm -f "$(dirname "$(command -v python)")"/pip*
