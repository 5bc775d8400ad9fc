"""What runs inside a Python child kernel: stdlib and ipykernel only.

The sandbox binds this folder read-only and starts `__main__.py` by its path, so nothing in here may
import the rest of the package, and the rest of the package must not import anything from here but
`decode`, `encode`, `landlock`, `limits`, `lines`, `messages` and `untagged`, which both sides need.
"""
