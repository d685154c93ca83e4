// Options of kernels that do not honour them: an activation that a workload cannot ask for is off.
#pragma once

#if !defined(OPT_RELU6)
#define OPT_RELU6 0
#endif
#if !defined(OPT_SILU)
#define OPT_SILU 0
#endif
#if !defined(OPT_HARDSWISH)
#define OPT_HARDSWISH 0
#endif
#if !defined(OPT_GELU)
#define OPT_GELU 0
#endif
#if !defined(OPT_TANH)
#define OPT_TANH 0
#endif
