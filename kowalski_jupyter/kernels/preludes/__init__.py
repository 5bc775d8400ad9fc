"""What runs inside the sandbox beside kernels that others have made: standard library only, started by path.

`launch.py` starts such a kernel, and passes its messages on; one prelude for each language brings the run's functions
and data; `bash_kernel.py` is a kernel of our own, and `bash_call.py` what its functions call.
"""
