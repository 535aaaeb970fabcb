"""Result files: one analysis in one HDF5 file that a kill or a full disk leaves readable.

``result_file`` writes and reads them; ``layout`` is what they consist of, ``hdf5`` the reader of
that part of HDF5, ``records`` what a number depends on, as JSON.
"""

from landscape.results.layout import SCHEMAS, Field
from landscape.results.result_file import ENVIRONMENT, ResultFile, Stored, provenance, read

__all__ = ["ENVIRONMENT", "SCHEMAS", "Field", "ResultFile", "Stored", "provenance", "read"]
