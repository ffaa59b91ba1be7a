//! The first instructions: from the 32-bit entry that a PVH note names to Rust in long mode.
//!
//! Owns the note, the first page tables and the first stack. It must touch nothing above 2 MiB: the kernel keeps these
//! tables, and it hands out the memory above its own image.
//!
//! State at entry (Xen, `docs/misc/pvh.pandoc`): 32-bit protected mode, paging off, `ebx` points to `hvm_start_info`.

use core::arch::{asm, global_asm};
use core::ptr::addr_of_mut;

/// Bytes of the loader's own stack.
const STACK_BYTES: usize = 64 * 1024;

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4                     // length of the name
    .long 4                     // length of the descriptor
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start

    .section .low, "aw", @nobits
    .balign 4096
pml4:
    .skip 4096
pdpt:
    .skip 4096
directories:                    // four, for 4 GiB in pages of 2 MiB
    .skip 4 * 4096
    .global first_pages
first_pages:                    // the first 2 MiB in pages of 4 KiB
    .skip 4096
loader_stack:
    .skip {stack_bytes}
loader_stack_top:

    .section .rodata.gdt, "a"
    .balign 16
gdt:
    .quad 0
    .quad 0x00af9a000000ffff    // 64-bit code
    .quad 0x00cf92000000ffff    // data
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt

    .section .text.pvh, "ax"
    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    mov esp, offset loader_stack_top
    mov esi, ebx                // hvm_start_info, out of the way

    // The loader's tables are part of the ELF file's zeroed memory.
    mov eax, offset pdpt
    or eax, 3                   // present, writable
    mov dword ptr [pml4], eax

    mov eax, offset directories
    or eax, 3
    mov edi, offset pdpt
    mov ecx, 4
1:
    mov dword ptr [edi], eax
    add eax, 4096
    add edi, 8
    dec ecx
    jnz 1b

    mov eax, 0x83               // present, writable, 2 MiB page
    mov edi, offset directories
    mov ecx, 2048
2:
    mov dword ptr [edi], eax
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 2b

    mov eax, 3
    mov edi, offset first_pages
    mov ecx, 512
3:
    mov dword ptr [edi], eax
    add eax, 4096
    add edi, 8
    dec ecx
    jnz 3b
    mov eax, offset first_pages
    or eax, 3
    mov dword ptr [directories], eax

    mov eax, cr4
    or eax, 1 << 5              // PAE
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, 1 << 8              // long mode
    wrmsr
    mov eax, cr0
    or eax, 0x80000001          // paging, protection
    mov cr0, eax
    lgdt [gdt_pointer]
    push 8
    mov eax, offset long_mode
    push eax
    retf

    .code64
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, offset loader_stack_top
    xor ebp, ebp
    mov edi, esi
    call {loader}
    ud2
    "#,
    stack_bytes = const STACK_BYTES,
    loader = sym crate::loader,
);

/// Takes page 0 away, so that following a null pointer is a fault. The VMM's tables may lie there: call this after the
/// last look at them.
pub fn close_page_zero() {
    unsafe extern "C" {
        static mut first_pages: [u64; 512];
    }
    let entry = addr_of_mut!(first_pages).cast::<u64>();
    // SAFETY: one CPU, and the first entry maps page 0, which nothing of ours lies in.
    unsafe { entry.write_volatile(0) };
    // SAFETY: forgets the old entry; the memory behind it is used by nobody.
    unsafe { asm!("invlpg [{page}]", page = in(reg) 0_u64, options(nostack, preserves_flags)) };
}
