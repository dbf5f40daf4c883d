// Everything.
#pragma once

#include "tenon/data.h"
#include "tenon/dtype.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/io.h"
#include "tenon/layout.h"
#include "tenon/map.h"
#include "tenon/primitives.h"
#include "tenon/profile.h"
#include "tenon/random.h"
#include "tenon/tensor.h"
#include "tenon/threads.h"
#include "tenon/transform.h"
#include "tenon/tree.h"
