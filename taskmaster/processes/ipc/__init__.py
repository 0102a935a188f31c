"""Communication between the processes: scoreboard, pipes, permits, messages, starting a process.

Most files hold both sides of one channel. Each names which process runs which side.
"""
