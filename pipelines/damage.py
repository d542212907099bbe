"""How a damaged archive, or a member of one, shows."""

import lzma
import tarfile
import zipfile
import zlib

try:
    from pyarrow import ArrowException
except ImportError:
    ArrowException = ValueError

# RuntimeError is how zipfile speaks of a password or an unknown compression,
# ValueError of a name that is not UTF-8.
DAMAGE_ERRORS = (
    EOFError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    ArrowException,
)
# The same, or a file that cannot be read at all.
READ_ERRORS = (OSError, *DAMAGE_ERRORS)
