# The install tree: find_package(Tenon) and pkg-config, both relocatable.
