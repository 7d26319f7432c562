"""How the searches are compiled.

``outer`` may allocate arrays. ``inner`` may not: without reference counts and
calls, an inner loop over arrays in tuples is three times as fast. Both release
the interpreter's lock, and are kept on disk for the next process.
"""

from numba import njit

outer = njit(nogil=True, cache=True)
inner = njit(nogil=True, cache=True, forceinline=True, _nrt=False)
