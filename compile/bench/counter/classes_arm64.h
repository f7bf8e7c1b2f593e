/* Rows of classes.c: the encoding tables of the Arm Architecture Reference Manual for A64, chapter C4. */
{0x1e000000, 0x04000000, CLASS_SCALABLE},
{0x1c000000, 0x10000000, CLASS_INTEGER}, /* immediates */
{0x1c000000, 0x14000000, CLASS_BRANCH},
{0x0e000000, 0x0a000000, CLASS_INTEGER}, /* registers */

/* Loads and stores; bit 26 tells vector registers, bit 22 mostly a load. */
{0x3f000000, 0x1c000000, CLASS_VECTOR_LOAD}, /* literal */
{0x3f000000, 0x18000000, CLASS_LOAD},
{0xbe400000, 0x0c400000, CLASS_VECTOR_LOAD}, /* ld1 to ld4 */
{0xbe400000, 0x0c000000, CLASS_VECTOR_STORE},
{0x3e400000, 0x2c400000, CLASS_VECTOR_LOAD}, /* pairs */
{0x3e400000, 0x2c000000, CLASS_VECTOR_STORE},
{0x3e400000, 0x28400000, CLASS_LOAD},
{0x3e400000, 0x28000000, CLASS_STORE},
{0x3f400000, 0x08400000, CLASS_LOAD}, /* exclusive, ordered */
{0x3f400000, 0x08000000, CLASS_STORE},
{0x3e400000, 0x3c400000, CLASS_VECTOR_LOAD}, /* one register */
{0x3e400000, 0x3c000000, CLASS_VECTOR_STORE},
{0x3ec00000, 0x38000000, CLASS_STORE},
{0x0a000000, 0x08000000, CLASS_LOAD},

/* One number in a vector register. */
{0x5e000000, 0x1e000000, CLASS_SCALAR_FLOAT},
{0xde000000, 0x5e000000, CLASS_VECTOR},

/* By element: one factor is a lane. */
{0x9f00f400, 0x0f00e000, CLASS_DOT},                /* sdot, udot */
{0xbfc0f400, 0x0fc0f000, CLASS_FLOAT_MULTIPLY_ADD}, /* bfmlal */
{0xbf00f400, 0x0f00f000, CLASS_DOT},                /* usdot, sudot, bfdot */
{0xbf00b400, 0x0f001000, CLASS_FLOAT_MULTIPLY_ADD}, /* fmla, fmls */
{0xbfc0b400, 0x0f800000, CLASS_FLOAT_MULTIPLY_ADD}, /* fmlal, fmlsl */
{0xbfc0b400, 0x2f808000, CLASS_FLOAT_MULTIPLY_ADD}, /* fmlal2, fmlsl2 */
{0x9f00f400, 0x0f009000, CLASS_FLOAT},              /* fmul, fmulx */
{0xbf009400, 0x2f001000, CLASS_FLOAT},              /* fcmla */
{0x9f000400, 0x0f000000, CLASS_MULTIPLY},
{0x9f000400, 0x0f000400, CLASS_VECTOR}, /* shifts and immediates */

/* Three registers, also with a half-precision or extra encoding. */
{0xbf60fc00, 0x0e400c00, CLASS_FLOAT_MULTIPLY_ADD}, /* fmla, fmls of halves */
{0x9f60c400, 0x0e400400, CLASS_FLOAT},
{0x9f20fc00, 0x0e009400, CLASS_DOT},
{0xbf20fc00, 0x0e009c00, CLASS_DOT},                /* usdot */
{0xbfe0fc00, 0x2e40fc00, CLASS_DOT},                /* bfdot */
{0x9f20f400, 0x0e00a400, CLASS_MATRIX},             /* smmla, ummla, usmmla */
{0xbfe0fc00, 0x2e40ec00, CLASS_MATRIX},             /* bfmmla */
{0xbf20f400, 0x2e008400, CLASS_MULTIPLY},           /* sqrdmlah, sqrdmlsh */
{0x9f20c400, 0x0e00c400, CLASS_FLOAT},              /* fcmla, fcadd */
{0x9f20fc00, 0x0e20cc00, CLASS_FLOAT_MULTIPLY_ADD}, /* fmla, fmls, fmlal2 */
{0xbf20fc00, 0x0e20ec00, CLASS_FLOAT_MULTIPLY_ADD}, /* fmlal */
{0x9f20c400, 0x0e20c400, CLASS_FLOAT},
{0x9f20f400, 0x0e209400, CLASS_MULTIPLY},           /* mla, mls, mul */
{0x9f20fc00, 0x0e20b400, CLASS_MULTIPLY},           /* sqdmulh, sqrdmulh */
{0x9f208c00, 0x0e208000, CLASS_MULTIPLY},           /* smull, smlal and the like */

/* Two registers. */
{0x9f7e0c00, 0x0e780800, CLASS_FLOAT}, /* halves */
{0x9f3fcc00, 0x0e20c800, CLASS_FLOAT}, /* opcodes 12 to 15 */
{0x9f3fec00, 0x0e212800, CLASS_VECTOR}, /* xtn, sqxtun, shll */
{0x9f3ffc00, 0x0e214800, CLASS_VECTOR}, /* sqxtn, uqxtn */
{0x9f3f0c00, 0x0e210800, CLASS_FLOAT}, /* opcodes 16 to 31: conversions, rounding, square roots */
{0x9f3fcc00, 0x0e30c800, CLASS_FLOAT}, /* fmaxv and the like */
{0x0e000000, 0x0e000000, CLASS_VECTOR},
