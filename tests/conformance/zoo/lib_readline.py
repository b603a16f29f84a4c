import readline, rlcompleter
print(readline.get_current_history_length(), readline.get_line_buffer() == "")
