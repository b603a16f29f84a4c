print("before")
value = (1 +
         2 / (3 -
              3) +
         4)
