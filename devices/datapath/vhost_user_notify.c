// SPDX-License-Identifier: MIT
/*
 * vhost_user_notify.c - host notifiers: pages of the back end's to which the driver's kicks are written, without
 * KVM or an eventfd between them. Vhost-user Protocol, VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG.
 *
 *	guest: write to the queue's doorbell ── a KVM memory slot ──> page of a file or device of the back end's
 *
 * How it works: the back end, which has the doorbells of a network card, say, sends a descriptor on its own channel
 * and where in it the page of a queue is. We map it, and have the transport put it in the place of the queue's
 * doorbell while the back end has the ring: from ring_up() to the ring's stop, or until the back end goes or sends
 * the message without a descriptor. A page for a ring that it does not have yet waits. After the stop the page is
 * forgotten: the next start may be somebody else's.
 *
 * The doorbell's eventfd is the back end's, too, and rings whenever the page is not there: it is the machine's to
 * refuse one. So no message is answered late: it is answered once the page is known to be one, before it is there.
 *
 * Trust: the page is the guest's to write, nobody here ever touches it. A file that can be cut short is sealed
 * against it, or refused: then the guest's write would end the machine. Not with the relay, whose kicks are ours.
 *
 * Threads: the main loop takes messages; all else is under `lock`.
 */
#include "devices/datapath/vhost_user_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* Map the page that a message describes. Returns it in *page, or -errno. */
static int map_page(const struct vhost_user_area *a, int fd, void **page)
{
	struct statfs fs;
	struct stat st;

	if (a->size != PAGE_SIZE || a->offset % PAGE_SIZE || a->offset > INT64_MAX - PAGE_SIZE)
		return -EINVAL;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type == HUGETLBFS_MAGIC) /* whose pages are longer */
		return -EINVAL;
	if (S_ISREG(st.st_mode)) {
		int seals;

		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
		seals = fcntl(fd, F_GET_SEALS);
		if (seals < 0 || !(seals & F_SEAL_SHRINK))
			return -EPERM;
		if (fstat(fd, &st) < 0) /* now for good */
			return -errno;
		if (!range_inside(a->offset, PAGE_SIZE, 0, st.st_size))
			return -EINVAL;
	}
	*page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, a->offset);
	return *page == MAP_FAILED ? -errno : 0;
}

void vhost_user_notifier_drop(struct vhost_user *vu, u32 index)
{
	struct vhost_user_notifier *n = &vu->notifier[index];

	if (!n->page)
		return;
	if (n->there) {
		virtio_queue_set_page(vu->dev, index, NULL);
		if (vu->ring[index].up) /* what was written last may not have been seen */
			eventfd_write(vu->ring[index].q->kickfd, 1);
	}
	munmap(n->page, PAGE_SIZE);
	*n = (struct vhost_user_notifier){ .page = NULL };
}

void vhost_user_notifier_up(struct vhost_user *vu, u32 index)
{
	struct vhost_user_notifier *n = &vu->notifier[index];

	if (n->page && !n->there)
		n->there = virtio_queue_set_page(vu->dev, index, n->page) == 0;
}

int vhost_user_notifier_check(const struct vhost_user *vu, const struct vhost_user_msg *m,
			      void **page)
{
	u64 index = m->area.vring & VHOST_USER_VRING_INDEX;
	bool none = m->area.vring & VHOST_USER_VRING_NOFD;

	*page = NULL;
	if (!vu->o.pages || vu->relay || m->hdr.size != sizeof(m->area) ||
	    m->area.vring & ~(VHOST_USER_VRING_INDEX | VHOST_USER_VRING_NOFD) ||
	    index >= vu->o.nqueues || m->nfds != !none)
		return -EINVAL;
	return none ? 0 : map_page(&m->area, m->fd[0], page);
}

void vhost_user_notifier_set(struct vhost_user *vu, u32 index, void *page)
{
	pthread_mutex_lock(&vu->lock);
	vhost_user_notifier_drop(vu, index);
	if (page && vhost_user_connected(vu)) {
		vu->notifier[index].page = page;
		if (vu->ring[index].up)
			vhost_user_notifier_up(vu, index);
	} else if (page) {
		munmap(page, PAGE_SIZE);
	}
	pthread_mutex_unlock(&vu->lock);
}
