print("main")
import sitecustomize
