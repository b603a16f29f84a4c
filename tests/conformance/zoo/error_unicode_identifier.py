größe = 0
1 / größe
