// TENON_NEAR: for a small variable of a thread that is read for each node. Its address is then known without a call,
// which is possible for a few hundred bytes in all libraries that a program loads while it runs.
#pragma once

#include <cstddef>  // defines __GLIBC__

#if defined(__GLIBC__)
#define TENON_NEAR [[gnu::tls_model("initial-exec")]]
#else
#define TENON_NEAR
#endif
