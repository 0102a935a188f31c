"""What a supervisor and its workers both hold: the slots, the pipes between them, and words for what went wrong."""
