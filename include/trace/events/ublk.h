/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ublk

#if !defined(_TRACE_UBLK_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_UBLK_H

#include <linux/tracepoint.h>
#include <uapi/linux/ublk_cmd.h>

#define ublk_trace_slot_state(s)			\
	__print_symbolic(s,				\
		{ 0, "EMPTY" },				\
		{ 1, "ARMED" },				\
		{ 2, "BUSY" },				\
		{ 3, "QUEUED" },			\
		{ 4, "SERVER" },			\
		{ 5, "NEED_DATA" },			\
		{ 6, "CANCELED" })

#define ublk_trace_session_state(s)			\
	__print_symbolic(s,				\
		{ 0, "OPEN" },				\
		{ 1, "STOPPING" },			\
		{ 2, "DEAD" },				\
		{ 3, "RELEASED" },			\
		{ 4, "ENDED" })

#define ublk_trace_dev_state(s)				\
	__print_symbolic(s,				\
		{ UBLK_S_DEV_DEAD, "DEAD" },		\
		{ UBLK_S_DEV_LIVE, "LIVE" },		\
		{ UBLK_S_DEV_QUIESCED, "QUIESCED" },	\
		{ UBLK_S_DEV_FAIL_IO, "FAIL_IO" })

/*
 * A control command was answered, after the checks of its SQE and its encoding; dev_id
 * is the one that the caller named.
 */
TRACE_EVENT(ublk_ctrl,
	TP_PROTO(u32 dev_id, u32 cmd_op, int result),
	TP_ARGS(dev_id, cmd_op, result),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u32, cmd_op)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->cmd_op = cmd_op;
		__entry->result = result;
	),
	TP_printk("dev=%u cmd=%#x nr=%#x result=%d", __entry->dev_id,
		  __entry->cmd_op, _IOC_NR(__entry->cmd_op), __entry->result)
);

/*
 * A server's command on the character device was refused, after the check of its type.
 * Commands for many tags are shown with tag 65535, and so is all of batch mode.
 */
TRACE_EVENT(ublk_io_refused,
	TP_PROTO(u32 dev_id, u16 q_id, u16 tag, u32 cmd_op, int result),
	TP_ARGS(dev_id, q_id, tag, cmd_op, result),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u16, q_id)
		__field(u16, tag)
		__field(u32, cmd_op)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->q_id = q_id;
		__entry->tag = tag;
		__entry->cmd_op = cmd_op;
		__entry->result = result;
	),
	TP_printk("dev=%u queue=%u tag=%u cmd=%#x result=%d", __entry->dev_id,
		  __entry->q_id, __entry->tag, __entry->cmd_op,
		  __entry->result)
);

/* A tag moved from one state to another; see drivers/block/ublk/slot.h. */
TRACE_EVENT(ublk_slot,
	TP_PROTO(u32 dev_id, u16 q_id, u16 tag, u8 from, u8 to),
	TP_ARGS(dev_id, q_id, tag, from, to),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u16, q_id)
		__field(u16, tag)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->q_id = q_id;
		__entry->tag = tag;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("dev=%u queue=%u tag=%u %s -> %s", __entry->dev_id,
		  __entry->q_id, __entry->tag,
		  ublk_trace_slot_state(__entry->from),
		  ublk_trace_slot_state(__entry->to))
);

/* UBLK_F_AUTO_BUF_REG: the pages of a request could not be registered. */
TRACE_EVENT(ublk_auto_failed,
	TP_PROTO(u32 dev_id, u16 q_id, u16 tag, u16 index, int result),
	TP_ARGS(dev_id, q_id, tag, index, result),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u16, q_id)
		__field(u16, tag)
		__field(u16, index)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->q_id = q_id;
		__entry->tag = tag;
		__entry->index = index;
		__entry->result = result;
	),
	TP_printk("dev=%u queue=%u tag=%u index=%u result=%d", __entry->dev_id,
		  __entry->q_id, __entry->tag, __entry->index, __entry->result)
);

/* A request was taken from a server that will not answer it. */
TRACE_EVENT(ublk_dispose,
	TP_PROTO(u32 dev_id, u16 q_id, u16 tag, u8 op, u64 sector, u32 bytes,
		 bool delivered, bool again),
	TP_ARGS(dev_id, q_id, tag, op, sector, bytes, delivered, again),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u16, q_id)
		__field(u16, tag)
		__field(u8, op)
		__field(u64, sector)
		__field(u32, bytes)
		__field(bool, delivered)
		__field(bool, again)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->q_id = q_id;
		__entry->tag = tag;
		__entry->op = op;
		__entry->sector = sector;
		__entry->bytes = bytes;
		__entry->delivered = delivered;
		__entry->again = again;
	),
	TP_printk("dev=%u queue=%u tag=%u op=%u sector=%llu bytes=%u %s, %s",
		  __entry->dev_id, __entry->q_id, __entry->tag, __entry->op,
		  __entry->sector, __entry->bytes,
		  __entry->delivered ? "delivered" : "undelivered",
		  __entry->again ? "goes through the queue again" : "fails")
);

/* A server session changed its state; see struct ublk_session. */
TRACE_EVENT(ublk_session,
	TP_PROTO(u32 dev_id, pid_t server, u8 gen, u8 state),
	TP_ARGS(dev_id, server, gen, state),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(pid_t, server)
		__field(u8, gen)
		__field(u8, state)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->server = server;
		__entry->gen = gen;
		__entry->state = state;
	),
	TP_printk("dev=%u server=%d session=%u %s", __entry->dev_id,
		  __entry->server, __entry->gen,
		  ublk_trace_session_state(__entry->state))
);

/* A device changed the state that GET_DEV_INFO shows. */
TRACE_EVENT(ublk_state,
	TP_PROTO(u32 dev_id, u8 from, u8 to),
	TP_ARGS(dev_id, from, to),
	TP_STRUCT__entry(
		__field(u32, dev_id)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		__entry->dev_id = dev_id;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("dev=%u %s -> %s", __entry->dev_id,
		  ublk_trace_dev_state(__entry->from),
		  ublk_trace_dev_state(__entry->to))
);

#endif /* _TRACE_UBLK_H */

#include <trace/define_trace.h>
