"""The worker program and its parts. They import next to nothing: start-up and fork cost what they hold."""
