// SPDX-License-Identifier: GPL-2.0-only
/*
 * dlm - the DLM's controls, used from inside the kernel
 *
 * fs/dlm is made to be driven by dlm_controld through two file systems: configfs
 * says who the members and where they are, sysfs stops and starts a lockspace.
 * Here configfs is a private mount that no path leads to, and a lockspace's
 * attributes are found through its kobject, so neither a process nor a mounted
 * file system is needed.  The order of what is done is members.c's; this file
 * decides nothing.
 *
 * Only the worker and a mounting task call in here, never the thread of the
 * channel: all of it may sleep and allocate.
 */
#include <linux/configfs.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/inet.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/namei.h>
#include <linux/sysfs.h>
#include <net/ipv6.h>

#include "shim.h"

/* The DLM keeps only the last one that was made, so the name is free. */
#define PAL_CLUSTER_DIR	"palisade"

static struct vfsmount *pal_configfs;
static struct dentry *pal_cluster_dir;
static struct dentry *pal_comms_dir;
static struct dentry *pal_spaces_dir;

/* Both give back a dentry that the caller puts. */
static struct dentry *pal_find(struct dentry *dir, const char *name)
{
	struct dentry *found;

	inode_lock_nested(d_inode(dir), I_MUTEX_PARENT);
	found = lookup_one_len(name, dir, strlen(name));
	inode_unlock(d_inode(dir));
	if (!IS_ERR(found) && d_is_negative(found)) {
		dput(found);
		return ERR_PTR(-ENOENT);
	}
	return found;
}

static struct dentry *pal_mkdir(struct dentry *dir, const char *name)
{
	struct dentry *made;
	int error = 0;

	inode_lock_nested(d_inode(dir), I_MUTEX_PARENT);
	made = lookup_one_len(name, dir, strlen(name));
	if (!IS_ERR(made) && d_is_negative(made)) {
		error = vfs_mkdir(&init_user_ns, d_inode(dir), made, 0755);
		/* configfs may have put another dentry in its place. */
		if (!error && d_unhashed(made)) {
			dput(made);
			made = lookup_one_len(name, dir, strlen(name));
		}
	}
	inode_unlock(d_inode(dir));
	if (error) {
		dput(made);
		return ERR_PTR(error);
	}
	return made;
}

static int pal_rmdir(struct dentry *dir, const char *name)
{
	struct dentry *gone = pal_find(dir, name);
	int error;

	if (IS_ERR(gone))
		return PTR_ERR(gone);
	inode_lock_nested(d_inode(dir), I_MUTEX_PARENT);
	error = vfs_rmdir(&init_user_ns, d_inode(dir), gone);
	inode_unlock(d_inode(dir));
	dput(gone);
	return error;
}

static int pal_write(struct dentry *dir, const char *name, const void *bytes,
		     size_t count)
{
	struct path path = { .mnt = pal_configfs, .dentry = dir };
	struct file *file = file_open_root(&path, name, O_WRONLY, 0);
	loff_t at = 0;
	ssize_t written;
	int error;

	if (IS_ERR(file))
		return PTR_ERR(file);
	written = kernel_write(file, bytes, count, &at);
	error = filp_close(file, NULL);
	return written < 0 ? written : error;
}

static int pal_write_number(struct dentry *dir, const char *name, u32 number)
{
	char text[12];
	int count = scnprintf(text, sizeof(text), "%u", number);

	return pal_write(dir, name, text, count);
}

static void pal_sockaddr(struct sockaddr_storage *into,
			 const struct pal_address *address)
{
	/* The port stays zero: the DLM compares it when a peer connects. */
	memset(into, 0, sizeof(*into));
	if (address->family == 4) {
		struct sockaddr_in *four = (struct sockaddr_in *)into;

		four->sin_family = AF_INET;
		memcpy(&four->sin_addr, address->bytes, 4);
	} else {
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)into;

		six->sin6_family = AF_INET6;
		memcpy(&six->sin6_addr, address->bytes, 16);
	}
}

/**
 * pal_dlm_comm_make - say where a node's DLM is
 * @node: the node
 * @address: where
 * @local: it is this node
 */
int pal_dlm_comm_make(u8 node, const struct pal_address *address, bool local)
{
	struct sockaddr_storage storage;
	struct dentry *comm;
	char name[4];
	int error;

	scnprintf(name, sizeof(name), "%u", node);
	comm = pal_mkdir(pal_comms_dir, name);
	if (IS_ERR(comm))
		return PTR_ERR(comm);
	pal_sockaddr(&storage, address);
	error = pal_write_number(comm, "nodeid", node);
	if (!error)
		error = pal_write(comm, "addr", &storage, sizeof(storage));
	if (!error && local)
		error = pal_write_number(comm, "local", 1);
	/* One port for all nodes; it cannot change while the DLM listens. */
	if (!error && local && address->port)
		error = pal_write_number(pal_cluster_dir, "tcp_port",
					 address->port);
	dput(comm);
	if (error)
		pal_dlm_comm_drop(node);
	return error;
}

int pal_dlm_comm_drop(u8 node)
{
	char name[4];

	scnprintf(name, sizeof(name), "%u", node);
	return pal_rmdir(pal_comms_dir, name);
}

int pal_dlm_space_make(const char *space)
{
	struct dentry *made = pal_mkdir(pal_spaces_dir, space);

	if (IS_ERR(made))
		return PTR_ERR(made);
	dput(made);
	return 0;
}

static struct dentry *pal_nodes_dir(const char *space)
{
	struct dentry *dir = pal_find(pal_spaces_dir, space);
	struct dentry *nodes;

	if (IS_ERR(dir))
		return dir;
	nodes = pal_find(dir, "nodes");
	dput(dir);
	return nodes;
}

void pal_dlm_space_drop(const char *space)
{
	u32 node;

	for (node = 1; node < PAL_NODES_MAX; node++)
		pal_dlm_node_drop(space, node);
	pal_rmdir(pal_spaces_dir, space);
}

int pal_dlm_node_make(const char *space, u8 node)
{
	struct dentry *nodes = pal_nodes_dir(space);
	struct dentry *made;
	char name[4];
	int error;

	if (IS_ERR(nodes))
		return PTR_ERR(nodes);
	scnprintf(name, sizeof(name), "%u", node);
	made = pal_mkdir(nodes, name);
	error = PTR_ERR_OR_ZERO(made);
	if (!error) {
		error = pal_write_number(made, "nodeid", node);
		dput(made);
	}
	dput(nodes);
	return error;
}

int pal_dlm_node_drop(const char *space, u8 node)
{
	struct dentry *nodes = pal_nodes_dir(space);
	char name[4];
	int error;

	if (IS_ERR(nodes))
		return PTR_ERR(nodes);
	scnprintf(name, sizeof(name), "%u", node);
	error = pal_rmdir(nodes, name);
	dput(nodes);
	return error;
}

/**
 * pal_dlm_cluster_name - the name that the next new lockspace must bring
 * @name: of the cluster
 */
int pal_dlm_cluster_name(const char *name)
{
	/* With its end: an empty name must be written, too. */
	return pal_write(pal_cluster_dir, "cluster_name", name,
			 strlen(name) + 1);
}

/* The kobject of a lockspace, to be put; NULL: there is none. */
static struct kobject *pal_lockspace(const char *space)
{
	struct kernfs_node *directory;
	struct kobject *found;

	directory = kernfs_find_and_get_ns(kernel_kobj->sd, "dlm", NULL);
	if (!directory)
		return NULL;
	found = kset_find_obj(to_kset((struct kobject *)directory->priv),
			      space);
	kernfs_put(directory);
	return found;
}

bool pal_dlm_is_there(const char *space)
{
	struct kobject *lockspace = pal_lockspace(space);

	kobject_put(lockspace);
	return lockspace;
}

static struct attribute *pal_attribute(struct kobject *lockspace,
				       const char *name)
{
	const struct kobj_type *type = get_ktype(lockspace);
	struct attribute **attributes;

	if (!type || !type->default_groups || !type->default_groups[0])
		return NULL;
	attributes = type->default_groups[0]->attrs;
	for (; attributes && *attributes; attributes++)
		if (!strcmp((*attributes)->name, name))
			return *attributes;
	return NULL;
}

/**
 * pal_dlm_store - write to a lockspace's attribute
 * @space: its name
 * @attribute: which
 * @text: what
 */
int pal_dlm_store(const char *space, const char *attribute, const char *text)
{
	struct kobject *lockspace = pal_lockspace(space);
	struct attribute *found;
	ssize_t result = -ENOENT;

	if (!lockspace)
		return -ENOENT;
	found = pal_attribute(lockspace, attribute);
	if (found)
		result = get_ktype(lockspace)->sysfs_ops->store(lockspace,
								found, text,
								strlen(text));
	kobject_put(lockspace);
	return result < 0 ? result : 0;
}

/**
 * pal_dlm_number - read a number from a lockspace's attribute
 * @space: its name
 * @attribute: which
 * @base: 10 or 16
 *
 * Return: the number, or an error.
 */
int pal_dlm_number(const char *space, const char *attribute, int base)
{
	/* A show operation may write a whole page, and wants it to be one. */
	static char page[PAGE_SIZE] __aligned(PAGE_SIZE);
	static DEFINE_MUTEX(page_lock);
	struct kobject *lockspace = pal_lockspace(space);
	struct attribute *found;
	int number = -ENOENT;

	if (!lockspace)
		return -ENOENT;
	found = pal_attribute(lockspace, attribute);
	mutex_lock(&page_lock);
	if (found &&
	    get_ktype(lockspace)->sysfs_ops->show(lockspace, found, page) > 0 &&
	    kstrtoint(strim(page), base, &number))
		number = -EINVAL;
	mutex_unlock(&page_lock);
	kobject_put(lockspace);
	return number;
}

int pal_dlm_recover_status(const char *space)
{
	return pal_dlm_number(space, "recover_status", 16);
}

int pal_dlm_init(void)
{
	struct file_system_type *type = get_fs_type("configfs");
	struct dentry *dlm;
	int error;

	if (!type)
		return -ENODEV;
	pal_configfs = kern_mount(type);
	module_put(type->owner);
	if (IS_ERR(pal_configfs))
		return PTR_ERR(pal_configfs);
	dlm = pal_find(pal_configfs->mnt_root, "dlm");
	error = PTR_ERR_OR_ZERO(dlm);
	if (error)
		goto unmount;
	pal_cluster_dir = pal_mkdir(dlm, PAL_CLUSTER_DIR);
	dput(dlm);
	error = PTR_ERR_OR_ZERO(pal_cluster_dir);
	if (error)
		goto unmount;
	pal_comms_dir = pal_find(pal_cluster_dir, "comms");
	pal_spaces_dir = pal_find(pal_cluster_dir, "spaces");
	error = PTR_ERR_OR_ZERO(pal_comms_dir);
	if (!error)
		error = PTR_ERR_OR_ZERO(pal_spaces_dir);
	/* The default calls nothing of ours: no recover_slot, data lost. */
	if (!error)
		error = pal_write_number(pal_cluster_dir,
					 "recover_callbacks", 1);
	if (error)
		pal_dlm_exit();
	return error;
unmount:
	kern_unmount(pal_configfs);
	return error;
}

void pal_dlm_exit(void)
{
	struct dentry *dlm;

	if (!IS_ERR_OR_NULL(pal_comms_dir))
		dput(pal_comms_dir);
	if (!IS_ERR_OR_NULL(pal_spaces_dir))
		dput(pal_spaces_dir);
	dput(pal_cluster_dir);
	dlm = pal_find(pal_configfs->mnt_root, "dlm");
	if (!IS_ERR(dlm)) {
		if (pal_rmdir(dlm, PAL_CLUSTER_DIR))
			pr_warn("palisade: the DLM's configuration stays behind\n");
		dput(dlm);
	}
	kern_unmount(pal_configfs);
}
