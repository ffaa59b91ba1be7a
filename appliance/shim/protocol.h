/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * protocol - the layout of the node protocol
 *
 * Numbers only: docs/PROTOCOL.md has their meaning, and a test holds them
 * against appliance/core/src/wire.  All fields are little-endian, all offsets
 * in bytes; those of a body count from the body's start.
 */
#ifndef PALISADE_PROTOCOL_H
#define PALISADE_PROTOCOL_H

/* The frame. */
#define PAL_MAGIC_0		'P'
#define PAL_MAGIC_1		'F'
#define PAL_VERSION		1
#define PAL_FRAME_BYTES		64
#define PAL_PAYLOAD_MAX		448
#define PAL_FRAME_MAX		(PAL_FRAME_BYTES + PAL_PAYLOAD_MAX)
#define PAL_BODY_BYTES		40
#define PAL_AT_VERSION		2
#define PAL_AT_KIND		3
#define PAL_AT_LENGTH		4
#define PAL_AT_SESSION		8
#define PAL_AT_SEQUENCE		12
#define PAL_AT_BODY		16
#define PAL_AT_CHECK		60

/* Kinds. */
#define PAL_HELLO		1
#define PAL_WELCOME		2
#define PAL_BEAT		3
#define PAL_LEASE		4
#define PAL_BYE			5
#define PAL_LAST_GASP		6
#define PAL_ERROR		7
#define PAL_BUSY		8
#define PAL_VIEW		9
#define PAL_NODE_UP		10
#define PAL_NODE_SUSPECT	11
#define PAL_NODE_DOWN		12
#define PAL_JOIN		17
#define PAL_LEAVE		18
#define PAL_STOP		19
#define PAL_STOPPED		20
#define PAL_START		21
#define PAL_STARTED		22
#define PAL_RECOVERED		23
#define PAL_TAKEOVER		24
#define PAL_TAKEN		25
#define PAL_FAILED		26
#define PAL_SEND		27
#define PAL_RECV		28
#define PAL_ACK			29
#define PAL_GONE		30
#define PAL_REPORT		33
#define PAL_REPORT_GROUP	34
#define PAL_DLM_ADDRESS		37
#define PAL_CUT			38
#define PAL_REPORT_SERVICE	39

/* Fields of bodies. */
#define PAL_NODE		0	/* all that name a node */
#define PAL_HOST		1	/* WELCOME, NODE_*, VIEW */
#define PAL_CODE		2	/* ERROR, LAST_GASP; NODE_DOWN: class */
#define PAL_PART		4	/* VIEW, START u16 */
#define PAL_PARTS		6	/* VIEW, START u16 */
#define PAL_INCARNATION		8	/* HELLO, NODE_*, TAKEOVER, CUT u64 */
#define PAL_STAMP		16	/* BEAT, LEASE; HELLO, WELCOME: nonce */
#define PAL_VIEW_VERSION	16	/* VIEW, NODE_*, REPORT u64 */
#define PAL_ROUND		24	/* VIEW: of the ballot, u32 */
#define PAL_LEASE_MS		28	/* WELCOME, LEASE u32 */
#define PAL_BEAT_MS		32	/* WELCOME u32 */
#define PAL_CLUSTER		36	/* HELLO, WELCOME: number u32 */
#define PAL_WELCOME_RANDOM	8	/* WELCOME: cluster's random u32 */
#define PAL_HELLO_RANDOM	32	/* HELLO: cluster's random u32 */
#define PAL_GENERATION		16	/* STOP .. RECOVERED u64 */
#define PAL_VOLUME		24	/* JOIN .. RECOVERED, 16 bytes */
#define PAL_JOIN_CLUSTER	8	/* JOIN, 16 bytes */
#define PAL_SERVICE		2	/* TAKEOVER .. FAILED */
#define PAL_TOKEN		16	/* TAKEOVER .. FAILED u64 */
#define PAL_LABEL		24	/* TAKEOVER .. FAILED, 16 bytes */
#define PAL_REPORT_PART		4	/* REPORT u8 */
#define PAL_REPORT_PARTS	6	/* REPORT u8 */
#define PAL_REPORT_TELLS	24	/* REPORT u8 */
#define PAL_REPORT_VOLUMES	25	/* REPORT u8 */
#define PAL_REPORT_SERVICES	26	/* REPORT u8 */
#define PAL_WHICH		1	/* REPORT_GROUP, REPORT_SERVICE u8 */
#define PAL_GROUP_STATE		2	/* REPORT_GROUP u8 */
#define PAL_GROUP_FLAGS		3	/* REPORT_GROUP u8 */
#define PAL_PROGRESS		3	/* REPORT_SERVICE u8 */
#define PAL_ADDRESS_FAMILY	1	/* DLM_ADDRESS: 4 or 6 */
#define PAL_ADDRESS_PORT	2	/* DLM_ADDRESS u16, 0: the default */
#define PAL_ADDRESS		24	/* DLM_ADDRESS, 16 bytes */
#define PAL_CUT_STATE		2	/* CUT: 1 or 0 */
#define PAL_CUT_MS		16	/* CUT u64 */
#define PAL_EPOCH		4	/* SEND, GONE u32 */
#define PAL_NUMBER		16	/* SEND, RECV, ACK, GONE, BUSY u64 */
#define PAL_STREAM		24	/* RECV, ACK u64 */
#define PAL_FIRST		32	/* RECV u64 */

#define PAL_LABEL_BYTES		16

/* An entry of VIEW, REPORT and START. */
#define PAL_ENTRY_BYTES		12
#define PAL_ENTRY_NODE		0
#define PAL_ENTRY_STATE		1	/* START: what */
#define PAL_ENTRY_HOST		2
#define PAL_ENTRY_CLASS		3
#define PAL_ENTRY_INCARNATION	4

/* States of a node in VIEW. */
#define PAL_STATE_UNKNOWN	0
#define PAL_STATE_UP		1
#define PAL_STATE_CONDEMNED	2
#define PAL_STATE_DOWN		3
#define PAL_STATE_LEFT		4

/* What an entry of START says. */
#define PAL_FATE_MEMBER		1
#define PAL_FATE_DEAD		2
#define PAL_FATE_LEFT		3
#define PAL_FATE_NEVER_STARTED	4

/* Codes of ERROR. */
#define PAL_WRONG_NODE		1
#define PAL_CONDEMNED		2
#define PAL_NO_SESSION		3
#define PAL_NOT_ADMITTED	4
#define PAL_BAD_REQUEST		5
#define PAL_NOT_YET		6
#define PAL_CLUSTER_OVER	7

/* Reasons of LAST_GASP. */
#define PAL_GASP_PANIC		1
#define PAL_GASP_LEASE		2
#define PAL_GASP_OTHER		3

/* States and flags of REPORT_GROUP; its payload begins with two u64. */
#define PAL_GROUP_JOINED	1
#define PAL_GROUP_STOPPED	2
#define PAL_GROUP_STARTED	3
#define PAL_GROUP_RECOVERED	1
#define PAL_GROUP_HEAD		16
#define PAL_GROUP_ENTRIES	36

/* Progress of REPORT_SERVICE. */
#define PAL_PROGRESS_GIVEN	1
#define PAL_PROGRESS_TAKEN	2

/*
 * Messages between shims: a head, then lines.  The appliances only carry them.
 * Each is of one service, volume and generation.
 */
#define PAL_MAIL_LOCKS		1
#define PAL_MAIL_SERVICE	0
#define PAL_MAIL_COUNT		1
#define PAL_MAIL_GENERATION	8
#define PAL_MAIL_VOLUME		16
#define PAL_MAIL_HEAD		32
#define PAL_LINE_BYTES		48
#define PAL_LINES_MAX		8
#define PAL_LINE_WORD		0
#define PAL_LINE_HOLD		1
#define PAL_LINE_FLAG		2
#define PAL_LINE_RESULT		3
#define PAL_LINE_PID		4
#define PAL_LINE_ID		8
#define PAL_LINE_INODE		16
#define PAL_LINE_OWNER		24
#define PAL_LINE_START		32
#define PAL_LINE_LAST		40

/* Words of lines. */
#define PAL_LINE_BEGIN		1
#define PAL_LINE_HELD		2
#define PAL_LINE_END		3
#define PAL_LINE_ASK		4
#define PAL_LINE_FIND		5
#define PAL_LINE_LOWER		6
#define PAL_LINE_CANCEL		7
#define PAL_LINE_ANSWER		8

/* Flags of ASK. */
#define PAL_ASK_WAIT		1
#define PAL_ASK_DEADLOCK	2

/* Answers. */
#define PAL_ANSWER_GRANTED	0	/* to FIND: nothing stands against it */
#define PAL_ANSWER_TAKEN	1
#define PAL_ANSWER_FULL		2
#define PAL_ANSWER_DEADLOCK	3

/* Services of TAKEOVER. */
#define PAL_SERVICE_RECOVERY	1
#define PAL_SERVICE_NAMED	2

#endif
