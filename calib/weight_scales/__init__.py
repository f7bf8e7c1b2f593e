"""Weight scales planned for int16 and int32 accumulators; activation scales belong to `calib.ptq`."""
