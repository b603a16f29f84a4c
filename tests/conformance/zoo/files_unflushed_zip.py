import zipfile
z = zipfile.ZipFile("left.zip", "w"); z.writestr(zipfile.ZipInfo("a"), "text")
