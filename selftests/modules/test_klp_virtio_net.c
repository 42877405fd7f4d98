// SPDX-License-Identifier: GPL-2.0
/*
 * A network card for virtio_net that offers what QEMU's user-mode network does not: it merges received packets
 * (rx-gro-hw), which can be switched by a command, or not at all without a control queue. No packet ever arrives.
 */

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

static bool control = true;
module_param(control, bool, 0444);
MODULE_PARM_DESC(control, "has a control queue (default=true)");

static bool refuse;
module_param(refuse, bool, 0644);
MODULE_PARM_DESC(refuse, "answers commands by an error (default=false)");

static unsigned int commands, early;
module_param(commands, uint, 0444);
MODULE_PARM_DESC(commands, "how many commands came");
module_param(early, uint, 0444);
MODULE_PARM_DESC(early, "how many of them came before the driver said that it is ready");

static struct device *root;
static struct virtio_device card;
static DECLARE_COMPLETION(released);
static u16 seen;
static u8 status;

static void card_get(struct virtio_device *vdev, unsigned int offset, void *buf, unsigned int len)
{
	memset(buf, 0, len);
}

static u8 card_get_status(struct virtio_device *vdev)
{
	return status;
}

static void card_set_status(struct virtio_device *vdev, u8 new)
{
	status = new;
}

static void card_reset(struct virtio_device *vdev)
{
	status = 0;
	seen = 0;
}

static u64 card_get_features(struct virtio_device *vdev)
{
	u64 features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4);

	if (control)
		features |= BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	return features;
}

static int card_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	return 0;
}

/* Packets go nowhere. */
static bool notify(struct virtqueue *vq)
{
	return true;
}

/* The last part of each chain is a byte for the answer. */
static bool notify_control(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);

	for (; seen != READ_ONCE(ring->avail->idx); seen++) {
		u16 head = ring->avail->ring[seen % ring->num], at = head;

		while (ring->desc[at].flags & VRING_DESC_F_NEXT)
			at = ring->desc[at].next;
		commands++;
		if (!(status & VIRTIO_CONFIG_S_DRIVER_OK))
			early++;
		*(u8 *)phys_to_virt(ring->desc[at].addr) = refuse ? VIRTIO_NET_ERR : VIRTIO_NET_OK;
		ring->used->ring[ring->used->idx % ring->num] = (struct vring_used_elem){ .id = head, .len = 1 };
		smp_store_release(&ring->used->idx, ring->used->idx + 1);
	}
	return true;
}

static void card_del_vqs(struct virtio_device *vdev)
{
	struct virtqueue *vq, *next;

	list_for_each_entry_safe(vq, next, &vdev->vqs, list)
		vring_del_virtqueue(vq);
}

static int card_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
			 struct virtqueue_info info[], struct irq_affinity *desc)
{
	unsigned int i;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = vring_create_virtqueue(i, 64, PAGE_SIZE, vdev, true, false, info[i].ctx,
						i == 2 ? notify_control : notify, info[i].callback, info[i].name);
		if (!vqs[i]) {
			card_del_vqs(vdev);
			return -ENOMEM;
		}
	}
	return 0;
}

static const char *card_bus_name(struct virtio_device *vdev)
{
	return KBUILD_MODNAME;
}

static const struct virtio_config_ops card_ops = {
	.get = card_get,
	.get_status = card_get_status,
	.set_status = card_set_status,
	.reset = card_reset,
	.get_features = card_get_features,
	.finalize_features = card_finalize_features,
	.find_vqs = card_find_vqs,
	.del_vqs = card_del_vqs,
	.bus_name = card_bus_name,
};

static void card_release(struct device *dev)
{
	complete(&released);
}

static int __init test_klp_virtio_net_init(void)
{
	int err;

	root = root_device_register(KBUILD_MODNAME);
	if (IS_ERR(root))
		return PTR_ERR(root);
	card.id.device = VIRTIO_ID_NET;
	card.config = &card_ops;
	card.dev.parent = root;
	card.dev.release = card_release;
	err = register_virtio_device(&card);
	if (err) {
		put_device(&card.dev);
		wait_for_completion(&released);
		root_device_unregister(root);
	}
	return err;
}

static void __exit test_klp_virtio_net_exit(void)
{
	unregister_virtio_device(&card);
	wait_for_completion(&released);
	root_device_unregister(root);
}

module_init(test_klp_virtio_net_init);
module_exit(test_klp_virtio_net_exit);
MODULE_DESCRIPTION("Livepatch test: a virtio network card with features of its own");
MODULE_LICENSE("GPL");
