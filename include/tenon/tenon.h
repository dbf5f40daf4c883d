// Everything.
//
// Threads. Any number of them may call any function at once, also with the same tensors, maps, compiled functions and
// optimizers: what is pending is computed once. Evaluations run one after the other, each on the threads of
// tenon/threads.h; recording, and products without a graph (tenon/product.h), run beside one another. An object that a
// thread assigns to must not be used by another meanwhile, as ever in C++. A BatchLoader is for one thread at a time.
#pragma once

#include "tenon/attention.h"
#include "tenon/compile.h"
#include "tenon/data.h"
#include "tenon/device.h"
#include "tenon/dlpack.h"
#include "tenon/dtype.h"
#include "tenon/error.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/io.h"
#include "tenon/layout.h"
#include "tenon/linalg.h"
#include "tenon/machine.h"
#include "tenon/map.h"
#include "tenon/module.h"
#include "tenon/nn.h"
#include "tenon/optim.h"
#include "tenon/policy.h"
#include "tenon/primitives.h"
#include "tenon/product.h"
#include "tenon/profile.h"
#include "tenon/random.h"
#include "tenon/tensor.h"
#include "tenon/threads.h"
#include "tenon/transform.h"
#include "tenon/tree.h"
#include "tenon/version.h"
