// SPDX-License-Identifier: GPL-2.0-only
/*
 * play - the shim's state machine in user space, driven by lines
 *
 * The test that holds the C against the Rust speaks through it.  A line of
 * input is a deed; lines of output are what the machine wants done, and each
 * deed ends with a line `done <deadline>`.
 *
 *	init NODE INCARNATION NONCE NOW	  time NOW	  bytes NOW HEX
 *	open VOLUME CLUSTER (in hex)	  ready AT NOW	  close AT NOW
 *	stopped AT GENERATION, and started, recovered, replayed; left AT
 *	cut NODE STATE MS		  services 0|1	  bye
 */
#include "../machine.h"

static struct pal_machine machine;
static struct pal_reader reader;
static bool services;

static void say_bytes(const char *word, const u8 *bytes, u32 count)
{
	printf("%s ", word);
	while (count--)
		printf("%02x", *bytes++);
	printf("\n");
}

void pal_port_send(const struct pal_frame *frame)
{
	u8 bytes[PAL_FRAME_MAX];

	say_bytes("send", bytes, pal_frame_emit(frame, bytes));
}

void pal_port_lease(u64 end)
{
	printf("lease %llu\n", (unsigned long long)end);
}

void pal_port_reset(enum pal_why why)
{
	printf("reset %d\n", why);
}

void pal_port_work(void)
{
	int at;

	for (at = 0; at < PAL_GROUPS_MAX; at++)
		if (machine.groups[at].job != PAL_JOB_NONE)
			printf("job %d %d %llu\n", at, machine.groups[at].job,
			       (unsigned long long)
			       machine.groups[at].generation);
}

bool pal_port_service(const struct pal_given *given)
{
	return services;
}

void pal_port_event(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("event ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

void pal_port_answered(struct pal_ask *ask)
{
	(void)ask;
}

void pal_port_started(const struct pal_group *group)
{
	printf("event GROUP_START entries=%u\n", group->known_count);
}

static u32 unhex(const char *text, u8 *into, u32 room)
{
	u32 count = 0;
	unsigned int byte;

	while (count < room && sscanf(text + 2 * count, "%2x", &byte) == 1)
		into[count++] = byte;
	return count;
}

static void take(u64 now, const char *hex)
{
	static u8 buffer[1 << 16];
	const u8 *bytes = buffer;
	u32 left = unhex(hex, buffer, sizeof(buffer));
	struct pal_frame frame;

	while (pal_reader_next(&reader, &bytes, &left, &frame))
		pal_on_frame(&machine, now, &frame);
}

/* A worker takes the job before it does it. */
static void done_with(int at)
{
	machine.groups[at].job = PAL_JOB_NONE;
}

static void step(const char *word, int at, u64 number)
{
	if (!strcmp(word, "ready"))
		pal_group_ready(&machine, number, at);
	else if (!strcmp(word, "close"))
		pal_group_close(&machine, number, at);
	else if (!strcmp(word, "recovered"))
		pal_group_recovered(&machine, at, number);
	else if (!strcmp(word, "replayed"))
		pal_group_replayed(&machine, at, number);
	else
		done_with(at);
	if (!strcmp(word, "stopped"))
		pal_group_stopped(&machine, at, number);
	else if (!strcmp(word, "started"))
		pal_group_started(&machine, at, number);
	else if (!strcmp(word, "left"))
		pal_group_left(&machine, at);
}

static void deed(char *line)
{
	static char word[16], one[1 << 17], two[64];
	unsigned long long a = 0, b = 0, c = 0, d = 0;
	u8 volume[PAL_LABEL_BYTES] = { 0 }, cluster[PAL_LABEL_BYTES] = { 0 };

	if (sscanf(line, "init %llu %llu %llu %llu", &a, &b, &c, &d) == 4) {
		pal_init(&machine, d, a, b, c);
	} else if (sscanf(line, "time %llu", &a) == 1) {
		pal_on_time(&machine, a);
	} else if (sscanf(line, "bytes %llu %131071s", &a, one) == 2) {
		take(a, one);
	} else if (sscanf(line, "open %32s %32s", two, one) == 2) {
		unhex(two, volume, sizeof(volume));
		unhex(one, cluster, sizeof(cluster));
		printf("opened %d\n", pal_group_open(&machine, volume,
						     cluster));
	} else if (sscanf(line, "cut %llu %llu %llu", &a, &b, &c) == 3) {
		pal_cut(&machine, a, b, c);
	} else if (sscanf(line, "services %llu", &a) == 1) {
		services = a;
	} else if (!strncmp(line, "bye", 3)) {
		pal_bye(&machine);
	} else if (sscanf(line, "%15s %llu %llu", word, &a, &b) >= 2 &&
		   a < PAL_GROUPS_MAX) {
		step(word, a, b);
	} else {
		printf("what? %s", line);
	}
	printf("done %llu\n", (unsigned long long)pal_deadline(&machine));
	fflush(stdout);
}

int main(void)
{
	static char line[1 << 17];

	while (fgets(line, sizeof(line), stdin))
		deed(line);
	return 0;
}
