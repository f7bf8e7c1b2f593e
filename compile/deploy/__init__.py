"""From a bundle to a board and back, over the system's OpenSSH.

address      what the user wrote: user@board:folder
connection   one remote command at a time: framed output, time limits, errors in sentences
scripts/     what runs on the board, POSIX sh
probe, fit   what a board is, and whether a bundle fits it
gate         whether a bundle may be deployed at all
hold         one deployment at a time
copy, prove  the bundle on the board, whole and right
install      the line of all of them; rollback, status
measure      latency on boards
"""
