import threading
threading.Timer(0.03, print, args=("timer",)).start()
threading.Timer(0.01, print, args=("cancelled",)).cancel()
