from main_ import y
