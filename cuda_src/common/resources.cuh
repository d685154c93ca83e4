// What kernels of all operators ask of a GPU's resources: nothing to compile, a declaration only.
/*[tuner.shared]
# For kernels that declare `threads`, `registers_needed` and the parameter MIN_BLOCKS.
[occupancy.constraints]
threads_fit = "threads <= max_threads_block"
registers_fit = "registers_needed <= max_registers_thread"
registers_of_sm_fit = "registers_needed * threads * MIN_BLOCKS <= registers_sm"
threads_of_sm_fit = "threads * MIN_BLOCKS <= max_threads_sm"

[occupancy.features]
threads = "threads"

# For kernels that declare `shared`, bytes that are asked for at the launch.
[large_shared.constraints]
shared_fits = "shared <= shared_bytes_block_optin"
*/
#pragma once
