// The library's version, by semantic versioning (semver.org). The build takes it from here.
#pragma once

#define TENON_VERSION_MAJOR 0
#define TENON_VERSION_MINOR 1
#define TENON_VERSION_PATCH 0

// As text: "0.1.0".
#define TENON_VERSION TENON_VERSION_JOIN(TENON_VERSION_MAJOR, TENON_VERSION_MINOR, TENON_VERSION_PATCH)
#define TENON_VERSION_JOIN(major, minor, patch) TENON_VERSION_TEXT(major, minor, patch)
#define TENON_VERSION_TEXT(major, minor, patch) #major "." #minor "." #patch
