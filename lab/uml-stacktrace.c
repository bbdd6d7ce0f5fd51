// SPDX-License-Identifier: GPL-2.0
/*
 * Stack traces for the checking kernel, in the place of the architecture's:
 * KASAN and lockdep take one for every allocation, and looking up each word
 * of a stack, as the architecture does, makes that a hundred times slower
 * than following the frame pointers, which a debug kernel always has.
 */
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/stacktrace.h>
#include <asm/stacktrace.h>

void dump_trace(struct task_struct *tsk, const struct stacktrace_ops *ops,
		void *data)
{
	struct pt_regs *segv_regs = tsk->thread.segv_regs;
	unsigned long sp = (unsigned long)get_stack_pointer(tsk, segv_regs);
	unsigned long bp = get_frame_pointer(tsk, segv_regs);
	unsigned long end = ALIGN(sp + 1, THREAD_SIZE);
	struct stack_frame *frame;
	unsigned long addr;

	while (bp >= sp && bp + sizeof(*frame) <= end && !(bp & 7)) {
		frame = (struct stack_frame *)bp;
		addr = READ_ONCE_NOCHECK(frame->return_address);
		if (!__kernel_text_address(addr))
			break;
		ops->address(data, addr, 1);
		sp = bp + sizeof(*frame);
		bp = (unsigned long)READ_ONCE_NOCHECK(frame->next_frame);
	}
}

static void save_addr(void *data, unsigned long address, int reliable)
{
	struct stack_trace *trace = data;

	if (trace->nr_entries < trace->max_entries)
		trace->entries[trace->nr_entries++] = address;
}

static const struct stacktrace_ops save_ops = {
	.address = save_addr
};

void save_stack_trace(struct stack_trace *trace)
{
	dump_trace(current, &save_ops, trace);
}
EXPORT_SYMBOL_GPL(save_stack_trace);

void save_stack_trace_tsk(struct task_struct *tsk, struct stack_trace *trace)
{
	dump_trace(tsk, &save_ops, trace);
}
EXPORT_SYMBOL_GPL(save_stack_trace_tsk);
