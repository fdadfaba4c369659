#include "textflag.h"

// func dotAVX2(a, b *float32, n int) float32
TEXT ·dotAVX2(SB), NOSPLIT, $0-28
	MOVQ a+0(FP), SI
	MOVQ b+8(FP), DI
	MOVQ n+16(FP), CX
	VXORPS Y0, Y0, Y0

dotloop:
	VMOVUPS (SI), Y1
	VMULPS  (DI), Y1, Y1
	VADDPS  Y1, Y0, Y0
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     dotloop

	// (s0+s4, s1+s5, s2+s6, s3+s7), then ((0+1) + (2+3)).
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VHADDPS      X0, X0, X0
	VHADDPS      X0, X0, X0
	VZEROUPPER
	MOVSS X0, ret+24(FP)
	RET

// func dotsAVX2(user, rows, products *float32, count, n int)
//
// dotAVX2 for rows that lie one behind the other, four at a time: their sums do not wait for each other, and are folded together.
TEXT ·dotsAVX2(SB), NOSPLIT, $0-40
	MOVQ user+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ products+16(FP), R8
	MOVQ count+24(FP), BX
	MOVQ n+32(FP), DX
	SHLQ $2, DX

dotsfour:
	CMPQ   BX, $4
	JLT    dotsrest
	LEAQ   (SI)(DX*1), R10
	LEAQ   (SI)(DX*2), R11
	LEAQ   (R10)(DX*2), R12
	XORQ   CX, CX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3

dotsfourloop:
	VMOVUPS (DI)(CX*1), Y4
	VMULPS  (SI)(CX*1), Y4, Y5
	VMULPS  (R10)(CX*1), Y4, Y6
	VMULPS  (R11)(CX*1), Y4, Y7
	VMULPS  (R12)(CX*1), Y4, Y8
	VADDPS  Y5, Y0, Y0
	VADDPS  Y6, Y1, Y1
	VADDPS  Y7, Y2, Y2
	VADDPS  Y8, Y3, Y3
	ADDQ    $32, CX
	CMPQ    CX, DX
	JLT     dotsfourloop

	// Each row as in dotAVX2; the first VHADDPS of two rows takes both, the second all four.
	VEXTRACTF128 $1, Y0, X5
	VEXTRACTF128 $1, Y1, X6
	VEXTRACTF128 $1, Y2, X7
	VEXTRACTF128 $1, Y3, X8
	VADDPS       X5, X0, X0
	VADDPS       X6, X1, X1
	VADDPS       X7, X2, X2
	VADDPS       X8, X3, X3
	VHADDPS      X1, X0, X0
	VHADDPS      X3, X2, X2
	VHADDPS      X2, X0, X0
	VMOVUPS      X0, (R8)
	ADDQ         $16, R8
	LEAQ         (SI)(DX*4), SI
	SUBQ         $4, BX
	JMP          dotsfour

dotsrest:
	TESTQ BX, BX
	JZ    dotsdone

dotsrow:
	XORQ   CX, CX
	VXORPS Y0, Y0, Y0

dotsloop:
	VMOVUPS (DI)(CX*1), Y1
	VMULPS  (SI)(CX*1), Y1, Y1
	VADDPS  Y1, Y0, Y0
	ADDQ    $32, CX
	CMPQ    CX, DX
	JLT     dotsloop

	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VHADDPS      X0, X0, X0
	VHADDPS      X0, X0, X0
	VMOVSS       X0, (R8)
	ADDQ         $4, R8
	ADDQ         DX, SI
	DECQ         BX
	JNZ          dotsrow

dotsdone:
	VZEROUPPER
	RET

// func addRowsAVX2(weights, rows, y *float32, count, n int)
//
// axpyAVX2 for rows that lie one behind the other, with y in registers: 32 components at a time, then 8.
TEXT ·addRowsAVX2(SB), NOSPLIT, $0-40
	MOVQ weights+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ y+16(FP), R8
	MOVQ count+24(FP), BX
	MOVQ n+32(FP), DX
	MOVQ DX, R9
	SHLQ $2, R9

addwide:
	CMPQ    DX, $32
	JLT     addnarrow
	VMOVUPS (R8), Y0
	VMOVUPS 32(R8), Y1
	VMOVUPS 64(R8), Y2
	VMOVUPS 96(R8), Y3
	MOVQ    SI, R10
	XORQ    CX, CX

addwideloop:
	VBROADCASTSS (DI)(CX*4), Y4
	VMULPS       (R10), Y4, Y5
	VMULPS       32(R10), Y4, Y6
	VMULPS       64(R10), Y4, Y7
	VMULPS       96(R10), Y4, Y8
	VADDPS       Y5, Y0, Y0
	VADDPS       Y6, Y1, Y1
	VADDPS       Y7, Y2, Y2
	VADDPS       Y8, Y3, Y3
	ADDQ         R9, R10
	INCQ         CX
	CMPQ         CX, BX
	JLT          addwideloop

	VMOVUPS Y0, (R8)
	VMOVUPS Y1, 32(R8)
	VMOVUPS Y2, 64(R8)
	VMOVUPS Y3, 96(R8)
	ADDQ    $128, R8
	ADDQ    $128, SI
	SUBQ    $32, DX
	JMP     addwide

addnarrow:
	TESTQ   DX, DX
	JZ      adddone
	VMOVUPS (R8), Y0
	MOVQ    SI, R10
	XORQ    CX, CX

addnarrowloop:
	VBROADCASTSS (DI)(CX*4), Y4
	VMULPS       (R10), Y4, Y5
	VADDPS       Y5, Y0, Y0
	ADDQ         R9, R10
	INCQ         CX
	CMPQ         CX, BX
	JLT          addnarrowloop

	VMOVUPS Y0, (R8)
	ADDQ    $32, R8
	ADDQ    $32, SI
	SUBQ    $8, DX
	JMP     addnarrow

adddone:
	VZEROUPPER
	RET

// func gramAVX2(a, b, sums *float32, count, n int)
//
// A tile of 8×8 sums stays in registers while all rows pass. R10 and R11 are the offsets of its first row and column, R12 is its first row.
TEXT ·gramAVX2(SB), NOSPLIT, $0-40
	MOVQ a+0(FP), SI
	MOVQ b+8(FP), DI
	MOVQ sums+16(FP), R12
	MOVQ count+24(FP), BX
	MOVQ n+32(FP), R9
	SHLQ $2, R9
	XORQ R10, R10

gramrow:
	XORQ R11, R11

gramtile:
	LEAQ    (R12)(R11*1), AX
	LEAQ    (AX)(R9*2), CX
	LEAQ    (AX)(R9*4), DX
	LEAQ    (CX)(R9*4), R13
	VMOVUPS (AX), Y0
	VMOVUPS (AX)(R9*1), Y1
	VMOVUPS (CX), Y2
	VMOVUPS (CX)(R9*1), Y3
	VMOVUPS (DX), Y4
	VMOVUPS (DX)(R9*1), Y5
	VMOVUPS (R13), Y6
	VMOVUPS (R13)(R9*1), Y7
	LEAQ    (SI)(R10*1), CX
	LEAQ    (DI)(R11*1), DX
	MOVQ    BX, R8

gramloop:
	VMOVUPS      (DX), Y8
	VBROADCASTSS (CX), Y9
	VBROADCASTSS 4(CX), Y10
	VBROADCASTSS 8(CX), Y11
	VBROADCASTSS 12(CX), Y12
	VMULPS       Y8, Y9, Y9
	VMULPS       Y8, Y10, Y10
	VMULPS       Y8, Y11, Y11
	VMULPS       Y8, Y12, Y12
	VADDPS       Y9, Y0, Y0
	VADDPS       Y10, Y1, Y1
	VADDPS       Y11, Y2, Y2
	VADDPS       Y12, Y3, Y3
	VBROADCASTSS 16(CX), Y9
	VBROADCASTSS 20(CX), Y10
	VBROADCASTSS 24(CX), Y11
	VBROADCASTSS 28(CX), Y12
	VMULPS       Y8, Y9, Y9
	VMULPS       Y8, Y10, Y10
	VMULPS       Y8, Y11, Y11
	VMULPS       Y8, Y12, Y12
	VADDPS       Y9, Y4, Y4
	VADDPS       Y10, Y5, Y5
	VADDPS       Y11, Y6, Y6
	VADDPS       Y12, Y7, Y7
	ADDQ         R9, CX
	ADDQ         R9, DX
	DECQ         R8
	JNZ          gramloop

	LEAQ    (AX)(R9*2), CX
	LEAQ    (AX)(R9*4), DX
	VMOVUPS Y0, (AX)
	VMOVUPS Y1, (AX)(R9*1)
	VMOVUPS Y2, (CX)
	VMOVUPS Y3, (CX)(R9*1)
	VMOVUPS Y4, (DX)
	VMOVUPS Y5, (DX)(R9*1)
	VMOVUPS Y6, (R13)
	VMOVUPS Y7, (R13)(R9*1)
	ADDQ    $32, R11
	CMPQ    R11, R10
	JLE     gramtile
	LEAQ    (R12)(R9*8), R12
	ADDQ    $32, R10
	CMPQ    R10, R9
	JLT     gramrow
	VZEROUPPER
	RET

// func axpyAVX2(c float32, x, y *float32, n int)
TEXT ·axpyAVX2(SB), NOSPLIT, $0-32
	VBROADCASTSS c+0(FP), Y0
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DI
	MOVQ n+24(FP), CX

axpyloop:
	VMULPS  (SI), Y0, Y1
	VADDPS  (DI), Y1, Y1
	VMOVUPS Y1, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     axpyloop
	VZEROUPPER
	RET

// func decayAxpyAVX2(keep, c float32, x, y *float32, n int)
TEXT ·decayAxpyAVX2(SB), NOSPLIT, $0-32
	VBROADCASTSS keep+0(FP), Y2
	VBROADCASTSS c+4(FP), Y0
	MOVQ x+8(FP), SI
	MOVQ y+16(FP), DI
	MOVQ n+24(FP), CX

decayloop:
	VMULPS  (SI), Y0, Y1
	VMULPS  (DI), Y2, Y3
	VADDPS  Y1, Y3, Y1
	VMOVUPS Y1, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     decayloop
	VZEROUPPER
	RET

// func exchangeAVX2(value, base, open, slab *float32, n int)
TEXT ·exchangeAVX2(SB), NOSPLIT, $0-40
	MOVQ value+0(FP), SI
	MOVQ base+8(FP), DI
	MOVQ open+16(FP), R8
	MOVQ slab+24(FP), R9
	MOVQ n+32(FP), CX

exchangeloop:
	VMOVUPS (SI), Y0
	VSUBPS  (DI), Y0, Y0  // value − base
	VADDPS  (R8), Y0, Y1
	VMOVUPS Y1, (R8)
	VADDPS  (R9), Y0, Y1
	VMOVUPS Y1, (R9)
	VMOVUPS Y1, (SI)
	VMOVUPS Y1, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, R8
	ADDQ    $32, R9
	SUBQ    $8, CX
	JNZ     exchangeloop
	VZEROUPPER
	RET

// func composeAVX2(at *int, share *float32, count int, rows, user, q *float32, n int) float32
//
// The rows' address advances with the block, their offsets (in floats) stay. The product's lanes are those of dotAVX2.
TEXT ·composeAVX2(SB), NOSPLIT, $0-60
	MOVQ at+0(FP), SI
	MOVQ share+8(FP), DI
	MOVQ count+16(FP), BX
	MOVQ rows+24(FP), R8
	MOVQ user+32(FP), R9
	MOVQ q+40(FP), R10
	MOVQ n+48(FP), CX
	VXORPS Y0, Y0, Y0

composeblock:
	MOVQ    (SI), AX
	VMOVUPS (R8)(AX*4), Y1
	MOVQ    $1, DX
	CMPQ    DX, BX
	JGE     composedone

composerow:
	MOVQ         (SI)(DX*8), AX
	VBROADCASTSS (DI)(DX*4), Y2
	VMULPS       (R8)(AX*4), Y2, Y2
	VADDPS       Y1, Y2, Y1
	INCQ         DX
	CMPQ         DX, BX
	JLT          composerow

composedone:
	VMOVUPS Y1, (R10)
	VMULPS  (R9), Y1, Y1
	VADDPS  Y1, Y0, Y0
	ADDQ    $32, R8
	ADDQ    $32, R9
	ADDQ    $32, R10
	SUBQ    $8, CX
	JNZ     composeblock

	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VHADDPS      X0, X0, X0
	VHADDPS      X0, X0, X0
	VZEROUPPER
	MOVSS X0, ret+56(FP)
	RET
