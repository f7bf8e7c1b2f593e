"""From a bundle to a board and back, over the system's OpenSSH.

address      what the user wrote: user@board:folder
connection   one remote command at a time: framed output, time limits, errors in sentences
scripts/     what runs on the board, POSIX sh
probe, fit   what a board is, and whether a bundle fits it
gate         whether a bundle may be deployed at all
lock         one deployment at a time
copy         the files of the bundle, whole on the board
verify_on_board  the bundle replays its recorded images there
install      all of these in order; rollback, inventory
choose       which bundle of a run's folder suits the board
measure      latency on boards
evaluate     accuracy on boards, of what labelled_images gives
"""
