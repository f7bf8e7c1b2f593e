/* Rows of classes.c: the encoding tables of the Arm Architecture Reference Manual for A32, chapter F4. */

/* Vectors: two registers and others of size 11. */
{0xffb30e10, 0xf3b30600, CLASS_FLOAT}, /* vcvt */
{0xffb30c10, 0xf3b10400, CLASS_FLOAT}, /* vabs.f32, vneg.f32, comparisons with 0 */
{0xfeb00010, 0xf2b00000, CLASS_VECTOR}, /* vext, vtbl, vdup, vmovn */

/* By a lane. */
{0xfe800b50, 0xf2800140, CLASS_FLOAT_MULTIPLY_ADD}, /* vmla.f32, vmls.f32 */
{0xfe800f50, 0xf2800940, CLASS_FLOAT},              /* vmul.f32 */
{0xfe800050, 0xf2800040, CLASS_MULTIPLY},
{0xfe800850, 0xf2800800, CLASS_MULTIPLY}, /* vmull, vmlal */
{0xfe800e90, 0xf2800e10, CLASS_FLOAT},    /* vcvt of fixed point */

/* Three registers. */
{0xfe800f00, 0xf2000900, CLASS_MULTIPLY},           /* vmla, vmls, vmul */
{0xfe800f10, 0xf2000b00, CLASS_MULTIPLY},           /* vqdmulh, vqrdmulh */
{0xfe800f10, 0xf2000c10, CLASS_FLOAT_MULTIPLY_ADD}, /* vfma */
{0xff800f10, 0xf2000d10, CLASS_FLOAT_MULTIPLY_ADD}, /* vmla.f32, vmls.f32 */
{0xfe800d00, 0xf2000d00, CLASS_FLOAT},
{0xfe800f00, 0xf2000e00, CLASS_FLOAT},
{0xfe000000, 0xf2000000, CLASS_VECTOR},
{0xff300000, 0xf4200000, CLASS_VECTOR_LOAD}, /* vld1 to vld4 */
{0xff300000, 0xf4000000, CLASS_VECTOR_STORE},
{0xfe000000, 0xfa000000, CLASS_BRANCH}, /* blx */
{0xf0000000, 0xf0000000, CLASS_OTHER},

/* VFP: one number in a vector register, and loads and stores of registers of either kind. */
{0x0fe00e00, 0x0c400a00, CLASS_SCALAR_FLOAT},
{0x0e100e00, 0x0c100a00, CLASS_VECTOR_LOAD},
{0x0e100e00, 0x0c000a00, CLASS_VECTOR_STORE},
{0x0f000e00, 0x0e000a00, CLASS_SCALAR_FLOAT},

{0x0e000000, 0x0a000000, CLASS_BRANCH},
{0x0fffffd0, 0x012fff10, CLASS_BRANCH}, /* bx, blx */
{0x0f000000, 0x0f000000, CLASS_BRANCH}, /* svc */

{0x0e000010, 0x06000010, CLASS_INTEGER}, /* media */
{0x0c100000, 0x04100000, CLASS_LOAD},
{0x0c100000, 0x04000000, CLASS_STORE},
{0x0e100000, 0x08100000, CLASS_LOAD}, /* several registers */
{0x0e100000, 0x08000000, CLASS_STORE},
{0x0e1000f0, 0x000000d0, CLASS_LOAD}, /* ldrd */
{0x0e1000f0, 0x001000d0, CLASS_LOAD}, /* ldrsb */
{0x0e1000b0, 0x001000b0, CLASS_LOAD}, /* ldrh, ldrsh */
{0x0e1000b0, 0x000000b0, CLASS_STORE},
{0x0f1000f0, 0x01100090, CLASS_LOAD}, /* ldrex */
{0x0f1000f0, 0x01000090, CLASS_STORE},
{0x0c000000, 0x00000000, CLASS_INTEGER},
