"""An error is shown by C code, whatever lies beside."""
1 / 0
