import gzip
f = gzip.GzipFile("left.gz", "wb", mtime=0); f.write(b"text" * 10)
