"""What people and other programs get to see of a run: nothing here decides or records anything."""
