"""conv2d as TensorIR for the CPU: a schedule by hand, and the plain program that MetaSchedule schedules."""
