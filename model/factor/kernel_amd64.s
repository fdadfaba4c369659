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
// dotAVX2 for rows that lie one behind the other: the sums of one overlap with the loads of the next.
TEXT ·dotsAVX2(SB), NOSPLIT, $0-40
	MOVQ user+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ products+16(FP), R8
	MOVQ count+24(FP), BX
	MOVQ n+32(FP), DX

dotsrow:
	MOVQ   DI, R9
	MOVQ   DX, CX
	VXORPS Y0, Y0, Y0

dotsloop:
	VMOVUPS (R9), Y1
	VMULPS  (SI), Y1, Y1
	VADDPS  Y1, Y0, Y0
	ADDQ    $32, SI
	ADDQ    $32, R9
	SUBQ    $8, CX
	JNZ     dotsloop

	VEXTRACTF128 $1, Y0, X1
	VADDPS       X1, X0, X0
	VHADDPS      X0, X0, X0
	VHADDPS      X0, X0, X0
	VMOVSS       X0, (R8)
	ADDQ         $4, R8
	DECQ         BX
	JNZ          dotsrow
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
