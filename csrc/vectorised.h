// Marks functions of the CPU that are built for wider vectors too; the loader chooses.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define IVN_VECTORISED __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define IVN_VECTORISED
#endif
