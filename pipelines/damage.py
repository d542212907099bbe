"""The exceptions by which a damaged archive, or a member of one, is recognised."""

import lzma
import tarfile
import zipfile
import zlib

try:
    from pyarrow import ArrowException
except ImportError:
    ArrowException = ValueError

# zipfile raises RuntimeError for a password or an unknown compression, and ValueError
# for a name that is not UTF-8.
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
