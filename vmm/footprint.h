// SPDX-License-Identifier: MIT
#ifndef VMM_FOOTPRINT_H
#define VMM_FOOTPRINT_H

/* Unmap the pages of libc's read-only segments; they come back when they are used. Any thread. */
void footprint_trim(void);

#endif
