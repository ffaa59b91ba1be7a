// SPDX-License-Identifier: GPL-2.0-only
/*
 * channel - the driver of the virtio console in PCI slot 0x10
 *
 * The channel is a virtio console without MULTIPORT: one receive queue, one
 * transmit queue, bytes in and out.  It is a driver of its own because nothing
 * on this path may wait for memory: every buffer is a static of this module,
 * all receive buffers are posted once and posted again when they are used up,
 * and a frame that finds no transmit buffer is dropped and counted; whatever
 * matters is said again.
 *
 * A virtio console does not say what it is for, but its slot does: every other
 * one is left to virtio_console.ko, by -ENODEV from the probe.
 *
 * The device's lengths are checked like network input.
 */
#include <linux/delay.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "shim.h"

#define PAL_RX		64	/* buffers; a frame takes one at least */
#define PAL_TX		64
#define PAL_BUFFER	PAL_FRAME_MAX
#define PAL_DRAIN_MS	100

struct pal_channel_counters pal_channel_counters;

static struct virtqueue *pal_rx;
static struct virtqueue *pal_tx;
static DEFINE_SPINLOCK(pal_rx_lock);
static DEFINE_SPINLOCK(pal_tx_lock);
static DECLARE_BITMAP(pal_tx_busy, PAL_TX);
static bool pal_rx_ready;
static u32 pal_last_session;
static u32 pal_last_sequence;

/* A device reads and writes these: they must lie in the linear map. */
static u8 *pal_rx_memory;
static u8 *pal_tx_memory;

#define PAL_RX_ORDER	get_order(PAL_RX * PAL_BUFFER)
#define PAL_TX_ORDER	get_order(PAL_TX * PAL_BUFFER)

/* One entry needs no indirect table, so nothing is allocated. */
static int pal_post(u8 *buffer)
{
	struct scatterlist sg;

	sg_init_one(&sg, buffer, PAL_BUFFER);
	return virtqueue_add_inbuf(pal_rx, &sg, 1, buffer, GFP_ATOMIC);
}

/* From the interrupt: the receive thread does the rest. */
static void pal_rx_done(struct virtqueue *queue)
{
	WRITE_ONCE(pal_rx_ready, true);
	pal_kick();
}

bool pal_channel_pending(void)
{
	return READ_ONCE(pal_rx_ready);
}

/**
 * pal_channel_receive - hand out all that has come
 * @take: gets the bytes; no lock is held meanwhile
 */
void pal_channel_receive(void (*take)(const u8 *bytes, u32 count))
{
	unsigned long flags;
	u32 count;
	u8 *buffer;

	WRITE_ONCE(pal_rx_ready, false);
	for (;;) {
		spin_lock_irqsave(&pal_rx_lock, flags);
		buffer = pal_rx ? virtqueue_get_buf(pal_rx, &count) : NULL;
		if (!buffer && pal_rx && !virtqueue_enable_cb(pal_rx))
			buffer = virtqueue_get_buf(pal_rx, &count);
		spin_unlock_irqrestore(&pal_rx_lock, flags);
		if (!buffer)
			return;
		if (count > PAL_BUFFER) {
			atomic64_inc(&pal_channel_counters.broken);
			count = 0;
		}
		atomic64_add(count, &pal_channel_counters.received);
		take(buffer, count);
		spin_lock_irqsave(&pal_rx_lock, flags);
		if (pal_rx) {
			if (pal_post(buffer))
				atomic64_inc(&pal_channel_counters.broken);
			virtqueue_kick(pal_rx);
		}
		spin_unlock_irqrestore(&pal_rx_lock, flags);
	}
}

static void pal_reclaim(void)
{
	u32 count;
	u8 *buffer;

	while ((buffer = virtqueue_get_buf(pal_tx, &count)))
		clear_bit((buffer - pal_tx_memory) / PAL_BUFFER, pal_tx_busy);
}

static void pal_transmit(const u8 *bytes, u32 count)
{
	struct scatterlist sg;
	unsigned long free;
	u8 *buffer;

	if (!pal_tx)
		return;
	pal_reclaim();
	free = find_first_zero_bit(pal_tx_busy, PAL_TX);
	if (free >= PAL_TX) {
		atomic64_inc(&pal_channel_counters.full);
		return;
	}
	buffer = pal_tx_memory + free * PAL_BUFFER;
	memcpy(buffer, bytes, count);
	sg_init_one(&sg, buffer, count);
	if (virtqueue_add_outbuf(pal_tx, &sg, 1, buffer, GFP_ATOMIC)) {
		atomic64_inc(&pal_channel_counters.full);
		return;
	}
	set_bit(free, pal_tx_busy);
	virtqueue_kick(pal_tx);
	atomic64_inc(&pal_channel_counters.sent);
}

/**
 * pal_channel_send - send the bytes of a frame, or drop and count them
 * @bytes: the frame
 * @count: at most PAL_FRAME_MAX
 */
void pal_channel_send(const u8 *bytes, u32 count)
{
	unsigned long flags;

	spin_lock_irqsave(&pal_tx_lock, flags);
	if (count >= PAL_FRAME_BYTES) {
		pal_last_session = pal_u32(bytes + PAL_AT_SESSION);
		pal_last_sequence = pal_u32(bytes + PAL_AT_SEQUENCE);
	}
	pal_transmit(bytes, count);
	spin_unlock_irqrestore(&pal_tx_lock, flags);
}

/**
 * pal_channel_drain - give what was sent last a moment to be taken
 *
 * A reset of the device, or of the machine, drops what it has not taken.
 */
void pal_channel_drain(void)
{
	unsigned long flags;
	bool empty;
	int tries;

	for (tries = 0; tries < PAL_DRAIN_MS; tries++) {
		spin_lock_irqsave(&pal_tx_lock, flags);
		if (pal_tx)
			pal_reclaim();
		empty = !pal_tx || bitmap_empty(pal_tx_busy, PAL_TX);
		spin_unlock_irqrestore(&pal_tx_lock, flags);
		if (empty)
			return;
		usleep_range(500, 1000);
	}
}

/**
 * pal_channel_last_word - LAST_GASP, from wherever the machine dies
 * @reason: PAL_GASP_*
 *
 * It waits for nobody: if this CPU or a stopped one holds the lock, nothing is
 * said, and silence says the same a little later.
 */
void pal_channel_last_word(u8 reason)
{
	struct pal_frame frame = { .kind = PAL_LAST_GASP };
	static u8 bytes[PAL_FRAME_MAX];
	unsigned long flags;

	if (!spin_trylock_irqsave(&pal_tx_lock, flags))
		return;
	frame.session = pal_last_session;
	frame.sequence = pal_last_sequence + 1;
	frame.body[PAL_CODE] = reason;
	pal_transmit(bytes, pal_frame_emit(&frame, bytes));
	spin_unlock_irqrestore(&pal_tx_lock, flags);
}

/* Sent buffers are taken back by the next sender. */
static void pal_tx_done(struct virtqueue *queue)
{
}

static bool pal_is_ours(struct virtio_device *device)
{
	struct device *parent = device->dev.parent;

	return parent && dev_is_pci(parent) &&
	       PCI_SLOT(to_pci_dev(parent)->devfn) == PAL_SLOT;
}

static int pal_probe(struct virtio_device *device)
{
	static const char * const names[] = { "input", "output" };
	vq_callback_t *callbacks[] = { pal_rx_done, pal_tx_done };
	struct virtqueue *queues[2];
	unsigned long flags;
	int error, at;

	if (!pal_is_ours(device))
		return -ENODEV;
	if (READ_ONCE(pal_rx))
		return -EBUSY;
	error = virtio_find_vqs(device, ARRAY_SIZE(queues), queues, callbacks,
				names, NULL);
	if (error)
		return error;
	virtqueue_disable_cb(queues[1]);
	virtio_device_ready(device);
	spin_lock_irqsave(&pal_rx_lock, flags);
	pal_rx = queues[0];
	for (at = 0; at < PAL_RX; at++)
		if (pal_post(pal_rx_memory + at * PAL_BUFFER))
			break;
	virtqueue_kick(pal_rx);
	spin_unlock_irqrestore(&pal_rx_lock, flags);
	spin_lock_irqsave(&pal_tx_lock, flags);
	bitmap_zero(pal_tx_busy, PAL_TX);
	pal_tx = queues[1];
	spin_unlock_irqrestore(&pal_tx_lock, flags);
	dev_info(&device->dev, "palisade: this is the channel\n");
	pal_kick();
	return 0;
}

static void pal_remove(struct virtio_device *device)
{
	unsigned long flags;

	virtio_reset_device(device);
	spin_lock_irqsave(&pal_rx_lock, flags);
	pal_rx = NULL;
	spin_unlock_irqrestore(&pal_rx_lock, flags);
	spin_lock_irqsave(&pal_tx_lock, flags);
	pal_tx = NULL;
	spin_unlock_irqrestore(&pal_tx_lock, flags);
	device->config->del_vqs(device);
}

static const struct virtio_device_id pal_ids[] = {
	{ VIRTIO_ID_CONSOLE, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

/* No feature at all: size and ports are of no use here. */
static struct virtio_driver pal_driver = {
	.driver.name = PAL_NAME,
	.driver.owner = THIS_MODULE,
	.id_table = pal_ids,
	.probe = pal_probe,
	.remove = pal_remove,
};

int pal_channel_init(void)
{
	int error = -ENOMEM;

	/*
	 * No softdep: modprobe -r would take the bus of this machine's disks
	 * away with us.
	 */
	request_module("virtio_pci");
	pal_rx_memory = (u8 *)__get_free_pages(GFP_KERNEL, PAL_RX_ORDER);
	pal_tx_memory = (u8 *)__get_free_pages(GFP_KERNEL, PAL_TX_ORDER);
	if (pal_rx_memory && pal_tx_memory)
		error = register_virtio_driver(&pal_driver);
	if (!error && !READ_ONCE(pal_rx)) {
		pr_err("palisade: no virtio console in PCI slot %#x is free; load palisade before virtio_console\n",
		       PAL_SLOT);
		unregister_virtio_driver(&pal_driver);
		error = -ENODEV;
	}
	if (error) {
		free_pages((unsigned long)pal_rx_memory, PAL_RX_ORDER);
		free_pages((unsigned long)pal_tx_memory, PAL_TX_ORDER);
	}
	return error;
}

void pal_channel_exit(void)
{
	unregister_virtio_driver(&pal_driver);
	free_pages((unsigned long)pal_rx_memory, PAL_RX_ORDER);
	free_pages((unsigned long)pal_tx_memory, PAL_TX_ORDER);
}
