/* SPDX-License-Identifier: MIT */
/*
 * pci_internal.h - what config.c, msix.c and host.c share. All of it is called with the host's
 * lock held (pci_host_lock), but where it says otherwise.
 */
#ifndef DEVICES_PCI_INTERNAL_H
#define DEVICES_PCI_INTERNAL_H

#include "minivmm/pci.h"

/* host.c. NULL, a device that is on no bus yet, needs no lock. */
void pci_host_lock(struct pci_host *h);
void pci_host_unlock(struct pci_host *h);

/* config.c */
u64 pci_bar_addr(const struct pci_dev *d, u32 i);
void pci_bar_set_addr(struct pci_dev *d, u32 i, u64 addr);
bool pci_bar_decoded(const struct pci_dev *d, u32 i);
u32 pci_config_load(const struct pci_dev *d, u32 off, u32 len);
void pci_config_store(struct pci_dev *d, u32 off, u32 len, u32 value);
void pci_intx_update(struct pci_dev *d);

/* msix.c */
bool pci_msix_enabled(const struct pci_dev *d);
void pci_msix_control_written(struct pci_dev *d);
void pci_msix_reset(struct pci_dev *d);

/* Free the sources and the table. Without the lock. */
void pci_msix_destroy(struct pci_dev *d);

#endif
